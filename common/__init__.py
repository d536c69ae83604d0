"""The rejection-sampling toolkit; see README.md. It is installed under the name rejection_sampling."""

__version__ = "0.2.0"
