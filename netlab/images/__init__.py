"""The images of a lab's containers, built when their content changes.

- `images` builds what is missing; `recipes` computes the content of each image (pure).
- `base` provides the image that all are built on, `dependencies` the Python libraries in them.
"""
