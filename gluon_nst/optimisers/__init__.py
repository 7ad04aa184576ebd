"""The optimisers: Adam, as the chapter's Trainer has it, and L-BFGS."""
