"""What the machine has, what a model will need, and whether the one holds the other."""
