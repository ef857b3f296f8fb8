"""Reading logs into columns: sources, formats, and the compiled scanner."""
