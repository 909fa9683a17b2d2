"""Everything that answers: photo to prediction, with Keras, an exported file or an ensemble."""
