"""Who speaks: the usual spellings of each role, in any case. Other roles are refused by name."""

from typing import Any

from jpo_dist.data.row_values import BadField

CALL = "function_call"
"""The assistant's, with a tool call as JSON for content."""

_SPELLINGS = {
    "user": "user human prompter usr person human_user end_user user_query",
    "assistant": "assistant gpt bot model chatgpt chatbot ai ai_assistant assistant_response llm gpt4 gpt_4 gpt_3.5 "
    "gpt_3.5_turbo gpt_4o claude bard bing gemini llama",
    "system": "system sys system_prompt system_message",
    "developer": "developer",
    "tool": "tool function observation observations tool_response tool_responses tool_result tool_results tool_output "
    "function_response function_result function_output environment",
    "ipython": "ipython",
    CALL: "function_call tool_call function_calls tool_calls",
}
_ROLES = {spelling: role for role, spellings in _SPELLINGS.items() for spelling in spellings.split()}


def role_of(value: Any, field: str) -> str:
    """The role that templates know: system, developer, user, assistant, tool, ipython; or CALL. Raises BadField."""
    if not isinstance(value, str):
        raise BadField(field, "not a string")
    found = _ROLES.get(value) or _ROLES.get("_".join(value.lower().replace("-", " ").split()))
    if found is None:
        raise BadField(
            field, f"role {value[:30]!r} is none of system, user, assistant, tool" if value.strip() else "empty"
        )
    return found
