"""How a bundle is made: its files, its requirements, its image."""
