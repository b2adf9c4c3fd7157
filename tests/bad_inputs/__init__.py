"""Bad inputs, topic by topic: what users do, what skst says, and what then helps.

``python -m tests.bad_inputs`` writes them into the guide.
"""

from . import (
    containers,
    counts,
    files,
    files_of_slices,
    genes,
    inspection,
    parameters,
    places,
    plots,
    prediction,
    rows,
    scores,
    slices,
    surroundings,
    text,
)

TOPICS = (
    containers,
    rows,
    places,
    slices,
    files_of_slices,
    genes,
    text,
    counts,
    parameters,
    prediction,
    scores,
    plots,
    inspection,
    files,
    surroundings,
)
CASES = [case for topic in TOPICS for case in topic.CASES]
