"""A store on the disk of one host."""
