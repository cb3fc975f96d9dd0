"""The same demonstrations once as context, once as training data: in a toy language, and in real language models."""
