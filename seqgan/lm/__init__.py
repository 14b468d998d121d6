"""Language models that learn from demonstrations while a discriminator learns from them: rounds, players, the TABLE."""
