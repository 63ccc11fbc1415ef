"""The proxy as programs meet it: the openai package, unchanged, against two GPU hosts and a CVM.

usage: check.py BASE_URL GOLDEN_JSON
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import openai
from openai import OpenAI

base_url, golden_file = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key="unused", max_retries=0, timeout=120)
golden = next(p for p in json.load(open(golden_file))["prompts"] if p.get("stopped_text"))
messages, expected = golden["messages"], golden["stopped_text"].strip()


def chat(**fields):
    fields = {"model": "any", "messages": messages, "temperature": 0} | fields
    return client.chat.completions.create(**fields)


def check(name, good, shown=None):
    print(("ok    " if good else "FAILED"), name, "" if good else shown)
    if not good:
        sys.exit(1)


def refused(name, status, param=None, call=chat, **fields):
    try:
        call(**fields)
    except openai.APIStatusError as error:
        body = error.body or {}
        good = error.status_code == status and (param is None or body.get("param") == param)
        check(name, good and body.get("message"), (error.status_code, body))
    else:
        check(name, False, "was answered")


models = client.models.list().data
check("one model is listed", len(models) == 1 and models[0].object == "model", models)
check("it can be retrieved", client.models.retrieve(models[0].id).id == models[0].id)
refused("no other can", 404, call=lambda: client.models.retrieve("nothing"))

reply = chat()
choice = reply.choices[0]
check("the golden reply", choice.message.content.strip() == expected, choice)
check("it stopped by itself", choice.finish_reason == "stop" and choice.message.role == "assistant")
usage = reply.usage
check("usage adds up", usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0, usage)
check("ids and kinds", reply.id.startswith("chatcmpl") and reply.object == "chat.completion" and reply.model == "any", reply)

chunks = list(chat(stream=True, stream_options={"include_usage": True}))
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
check("streamed, the same", text.strip() == expected, text)
check("the role comes first", chunks[0].choices[0].delta.role == "assistant", chunks[0])
reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
check("one finish_reason, at the end", reasons[-1] == "stop" and not any(reasons[:-1]), reasons)
check("usage in a chunk without choices", chunks[-1].choices == [] and chunks[-1].usage == usage, chunks[-1])
check("no usage unless asked for", all(not c.usage for c in chat(stream=True)))
check("one id", len({c.id for c in chunks}) == 1)

short = chat(max_tokens=3)
check("max_tokens", short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 3, short)
check("max_completion_tokens", chat(max_completion_tokens=2).usage.completion_tokens == 2)
word = expected.split()[3]
stopped = chat(stop=[word]).choices[0]
check("stop", stopped.finish_reason == "stop" and word not in stopped.message.content, stopped)
check("content parts", chat(messages=[{"role": "user", "content": [{"type": "text", "text": messages[0]["content"]}]}])
      .choices[0].message.content.strip() == expected)

sampled = [chat(temperature=1.3, seed=7, max_tokens=12).choices[0].message.content for _ in range(2)]
check("a seed repeats", sampled[0] == sampled[1], sampled)
other = chat(temperature=1.3, seed=8, max_tokens=12).choices[0].message.content
check("another seed does not", other != sampled[0], other)
several = chat(temperature=1.3, seed=7, n=3, max_tokens=12).choices
check("n choices", [c.index for c in several] == [0, 1, 2] and several[0].message.content == sampled[0], several)
check("which differ", len({c.message.content for c in several}) > 1)

likely = chat(logprobs=True, top_logprobs=3, max_tokens=4).choices[0].logprobs.content
check("logprobs", len(likely) == 4 and all(len(t.top_logprobs) == 3 and t.logprob <= 0 for t in likely), likely)
check("greedy takes the likeliest", all(t.token == t.top_logprobs[0].token for t in likely))
check("bytes are the token", all(bytes(t.bytes).decode("utf-8", "replace") == t.token for t in likely))

first = client.completions.create(model="any", prompt="fn main", max_tokens=8, temperature=0, logprobs=1)
check("completions", first.object == "text_completion" and first.usage.completion_tokens <= 8, first)
check("their logprobs", len(first.choices[0].logprobs.tokens) == first.usage.completion_tokens, first)
both = client.completions.create(model="any", prompt=["fn main", "let x"], max_tokens=8, temperature=0)
check("two prompts, two choices", [c.index for c in both.choices] == [0, 1], both)
check("the first as alone", both.choices[0].text == first.choices[0].text)
pieces = client.completions.create(model="any", prompt="fn main", max_tokens=8, temperature=0, stream=True)
check("completions, streamed", "".join(c.choices[0].text for c in pieces) == first.choices[0].text)
ids = client.completions.create(model="any", prompt=[1, 2, 3], max_tokens=4, temperature=0)
check("token ids", ids.usage.prompt_tokens == 3, ids)
forced = client.completions.create(model="any", prompt="fn main", max_tokens=3, temperature=0, logit_bias={"5": 100}, logprobs=0)
check("logit_bias", len(set(forced.choices[0].logprobs.tokens)) == 1, forced)

refused("temperature out of range", 400, "temperature", temperature=-1)
refused("top_p out of range", 400, "top_p", top_p=2)
refused("no messages", 400, "messages", messages=[])
refused("n out of range", 400, "n", n=0)
refused("max_tokens out of range", 400, "max_tokens", max_tokens=0)
refused("too many top_logprobs", 400, "top_logprobs", logprobs=True, top_logprobs=99)
refused("an image", 400, "messages[0].content[0].image_url", messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}])
refused("an unknown field", 400, "colour", extra_body={"colour": "blue"})
refused("a tool", 400, "tools", tools=[{"type": "function", "function": {"name": "f"}}])
refused("a form", 400, "response_format", response_format={"type": "json_object"})
check("top_p 0 is the likeliest", chat(temperature=1, top_p=0).choices[0].message.content.strip() == expected)
thrice = chat(n=3, max_tokens=2).usage
check("a prompt counts once", (thrice.prompt_tokens, thrice.completion_tokens) == (usage.prompt_tokens, 6), thrice)
again = chat(messages=messages + [choice.message.model_dump(), {"role": "user", "content": "And a slice?"}], max_tokens=1)
check("a reply goes back as it came", again.choices)

stream = chat(stream=True, extra_body={"ignore_eos": True})
next(iter(stream))
stream.close()
check("after a hang-up", chat(max_tokens=1).usage.completion_tokens == 1)
with ThreadPoolExecutor(16) as pool:
    replies = list(pool.map(lambda _: chat().choices[0].message.content.strip(), range(16)))
check("sixteen at once, all the same", set(replies) == {expected}, replies)
receipt = chat(extra_body={"talaria_receipt": True}).model_extra.get("talaria", {})
check("a receipt on demand", {"receipt", "evidence"} <= receipt.keys(), receipt)
print("openai", openai.__version__, "against", base_url)
