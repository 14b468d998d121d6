"""Sentences: generators and discriminators of text, and the rounds that train them."""
