"""The images of a lab's containers, built when their content changes.

- `images` builds what is missing; `recipes` computes the content of each image (pure).
- `base` provides the parent of all images, `dependencies` the Python libraries in them.
"""
