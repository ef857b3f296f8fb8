"""A TRL run over several processes, replayed on the gathered batches; run by test_processes.py.

Prints, on the first process, one JSON object: losses and gradient norms of TRL and of the built-in
update, and the states of the terms.
"""


def main() -> None:
    import copy
    import json
    import sys
    import warnings

    import torch
    from datasets import Dataset
    from trl import GRPOConfig

    from entropilot.models.tiny import tiny_parts
    from entropilot.policy.covariance_penalty import kl_cov
    from entropilot.policy.hosts.trl import objective_trainer
    from entropilot.policy.hosts.trl_advantages import collect
    from entropilot.policy.language_policy import LanguagePolicy
    from entropilot.policy.objective import Objective
    from entropilot.policy.rollouts import Rollouts
    from entropilot.policy.selective_entropy import selective_entropy_control
    from entropilot.policy.training.measuring import measure
    from entropilot.policy.training.settings import TrainSettings
    from entropilot.policy.training.updating import update

    warnings.simplefilter("ignore")
    NAMES = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    objective = Objective(
        surrogate=kl_cov(ratio=0.1), regularisers=(selective_entropy_control(coef=1.0),)
    )

    def letters(completions, **_):
        return [sum(c.isascii() and c.isalnum() for c in text) / 8 for text in completions]

    model, tokenizer = tiny_parts()
    tokenizer.pad_token = tokenizer.eos_token
    arguments = GRPOConfig(
        output_dir=sys.argv[1],
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        steps_per_generation=4,
        num_generations=4,
        max_completion_length=8,
        max_steps=4,
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        bf16=False,
        gradient_checkpointing=False,
        max_grad_norm=1e9,
    )
    trainer = objective_trainer(objective)(
        model=model,
        reward_funcs=letters,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": [f"{i:0{1 + i % 3}}=" for i in range(16)]}),
        processing_class=tokenizer,
    )
    memory: dict = {"state": {}}
    rows: list[dict] = []

    def replay(model, first):
        """The optimizer step that begins, by the built-in path; ``first`` of its micro-batches."""
        windows = [
            {n: collect(trainer, torch.cat([p[n] for p in trainer._buffered_inputs[k : k + 2]]))}
            for k in (0, 2)
            for n in NAMES
        ]
        whole = {n: torch.cat([w[n] for w in windows if n in w]) for n in NAMES}
        kept = zip(whole["prompt_ids"], whole["prompt_mask"].bool(), strict=True)
        prompts = [row[keep].tolist() for row, keep in kept]
        tokens, mask = whole["completion_ids"], whole["completion_mask"].bool()
        policy = LanguagePolicy(copy.deepcopy(trainer.accelerator.unwrap_model(model)), n_vocab=257)
        if first == 0:
            with torch.no_grad():
                old = measure(policy, prompts, tokens, mask, wants=("logprob",)).logprob
            answers = [t[m].tolist() for t, m in zip(tokens, mask, strict=True)]
            reward = torch.tensor(
                letters(tokenizer.batch_decode(answers, skip_special_tokens=True))
            )
            names = list(dict.fromkeys(map(tuple, prompts)))
            group = torch.tensor([names.index(tuple(p)) for p in prompts])
            batch = Rollouts(tokens, mask, old, reward, group)
            memory["prepared"] = objective.prepare(batch, memory["state"])
            memory["state"] = memory["prepared"].state
        chosen = torch.arange(8) + 4 * first
        done = update(
            policy,
            torch.optim.SGD(policy.parameters(), lr=0.0),
            objective,
            memory["prepared"].select(chosen),
            [prompts[i] for i in chosen.tolist()],
            memory["state"],
            TrainSettings(clip_norm=0.0),
        )
        memory["state"] = done.state
        rows.append(
            {"built_in": done.metrics["loss"], "norm": done.metrics["grad_norm"], "trl": 0.0}
        )

    def heard(model, inputs, plain=trainer._compute_loss):
        if trainer._step % 2 == 0:
            replay(model, trainer._step % 4)
        loss = plain(model, inputs)
        rows[-1]["trl"] += float(loss.detach())
        return loss

    trainer._compute_loss = heard
    trainer.train()
    if trainer.accelerator.process_index == 0:
        norms = [row["grad_norm"] for row in trainer.state.log_history if "loss" in row]
        found = {
            "n_processes": trainer.accelerator.num_processes,
            "rows": rows,
            "norms": norms,
            "states": [trainer.objective_state, memory["state"]],
        }
        print("FOUND" + json.dumps(found))


if __name__ == "__main__":
    main()
