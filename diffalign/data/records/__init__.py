"""Records of a data set: pairs, conversations, stored scores, and sequences of pairs that are read when needed."""
