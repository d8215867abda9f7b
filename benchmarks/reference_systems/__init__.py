"""The systems of the five studies: trained, attacked, and tried on images that they were not made for."""
