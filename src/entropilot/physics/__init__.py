"""Systems where entropy is a law: gases, schools, active matter, three bodies, channels."""
