"""What steers a stream, turned into the tensors that the LM listens to."""
