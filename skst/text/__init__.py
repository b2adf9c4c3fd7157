"""From texts to vectors: language models, their cache, and the encoder of cells and spots."""

from skst.text.chat import ChatModel
from skst.text.encoder import GeneTextEncoder
from skst.text.endpoint import EndpointBackend
from skst.text.lexical import LexicalBackend
from skst.text.models import TextModel

__all__ = ["ChatModel", "EndpointBackend", "GeneTextEncoder", "LexicalBackend", "TextModel"]
