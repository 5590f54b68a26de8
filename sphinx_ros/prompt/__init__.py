"""Words: questions into the model's prompt, prompt into token ids, answers into boxes."""
