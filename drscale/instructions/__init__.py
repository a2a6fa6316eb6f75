"""Retrieval that follows instructions: the texts, the training objectives, the measures."""
