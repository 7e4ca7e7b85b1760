"""How a value comes from the file, the environment and the command line."""
