"""The audit: separation of the classes by file properties, copies among images, and the equalised copy."""
