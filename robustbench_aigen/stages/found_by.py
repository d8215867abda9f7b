"""Words of the column ``found_by`` of records: which part of ``auto`` fooled the detector, or why no more was tried."""

GIVEN_UP = "given up"
"""The image withstood the parts that were tried on it, and no more was tried."""
WITHSTOOD = "withstood all"
"""The image withstood every part."""
SAMPLED = " (sample)"
"""Behind the name of a part that only images of the random sample got."""
