"""Pictures: the nets, rounds and variants of the image family stand here."""
