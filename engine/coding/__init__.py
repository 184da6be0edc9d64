"""The codec as a service of its own: sound to files of codes and back, beside what plays or without any engine."""
