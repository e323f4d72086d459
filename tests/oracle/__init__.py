"""Independent judges: what profiles must be, histories that try to make them something else, a slow stream."""
