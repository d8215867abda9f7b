"""The audit: whether how images are stored tells the classes apart, copies among them, and an equalised copy."""
