"""VGG-19: its layers and their names, the truncated Sequential, the graph in bfloat16."""
