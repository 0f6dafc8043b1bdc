"""What clients did and saw while processes died, and whether all of it can have been."""
