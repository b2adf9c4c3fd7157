"""Answers of a chat model behind an OpenAI-compatible endpoint."""

from skst.text.answers import BadAnswer, parse_json
from skst.text.asking import BRACKETS_AROUND, Endpoint, fault_of_settings

# Room for a long answer, with the reasoning that some servers send along.
_MOST_BYTES = 2**20


class ChatModel(Endpoint):
    """Ask a model with ``POST {base_url}/chat/completions`` in the manner of OpenAI's interface.

    OpenAI itself and local servers such as Ollama, llama.cpp or vLLM speak it.  How failures and the key are dealt with
    is told of :class:`~skst.text.EndpointBackend`.

    Parameters
    ----------
    model : str
        Name of the model as the server knows it.
    base_url : str, default=None
        Address before ``/chat/completions``; by default the environment variable ``OPENAI_BASE_URL``, else OpenAI's.
    api_key_env : str or None, default="OPENAI_API_KEY"
        Environment variable that holds the key; None to send no key.
    timeout : float, default=120.0
        Seconds that each attempt may take, from looking up the address to the last byte of the answer.
    max_retries : int, default=5
        How often a request that failed for a passing reason is sent again.

    Raises
    ------
    ValueError
        If a parameter is not of the kind above.

    See Also
    --------
    skst.inspection.annotate_by_chat : Names of clusters by such a model.

    Examples
    --------
    >>> from skst.text import ChatModel
    >>> ChatModel("qwen3:8b", "http://localhost:11434/v1", api_key_env=None)
    ChatModel(model='qwen3:8b', base_url='http://localhost:11434/v1')
    """

    path = "chat/completions"
    expects = "an answer of a chat"

    def __init__(self, model, base_url=None, *, api_key_env="OPENAI_API_KEY", timeout=120.0, max_retries=5):
        fault = fault_of_settings(model, base_url, api_key_env, timeout, max_retries)
        if fault:
            base_url = api_key_env = None
            raise ValueError(fault)
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.timeout = timeout
        self.max_retries = max_retries

    def __repr__(self):
        return f"ChatModel(model={self.model!r}, base_url={self.base_url!r})"

    def answer(self, system: str, question: str) -> str:
        """Ask one question.

        Parameters
        ----------
        system : str
            What the model is told first.
        question : str

        Returns
        -------
        str
            What it says, "" where it says nothing.

        Raises
        ------
        ImportError
            If requests is not installed.
        ValueError
            If the address, or the key for it, cannot be used.
        RuntimeError
            If the endpoint cannot be reached, refuses, or answers with anything but JSON of a chat, in time and of at
            most 1 MiB.
        """
        messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        with self.asking() as ask:
            return ask({"messages": messages}, _MOST_BYTES, _said)


def _said(body):
    """What the first choice of an answer says."""
    found = parse_json(body, BRACKETS_AROUND)
    choices = found.get("choices") if isinstance(found, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(message, dict) or "content" not in message:
        raise BadAnswer("with JSON that holds no choices[0].message.content")
    content = message["content"]
    if content is None:
        return ""
    if not isinstance(content, str):
        raise BadAnswer("with a message that is no text")
    return content
