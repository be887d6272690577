"""The picture: view, layers and what is drawn on them."""
