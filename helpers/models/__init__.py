"""What can be trained: stacks of attention layers, learned features, copying and induction models, small GPTs."""
