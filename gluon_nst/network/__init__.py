"""VGG-19: its layers, the truncated Sequential, and the graph in bfloat16."""
