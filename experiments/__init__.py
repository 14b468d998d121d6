"""Scripts, one for each family: the loop stands in the script, top to bottom."""
