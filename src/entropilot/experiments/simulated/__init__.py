"""The simulations that the command line offers, one module each."""
