"""Published [SEG] checkpoints in native classes: no remote code, every tensor used exactly once, or refused by name.

What the rest of `stages.prompting.seg` uses. Legend: D language width, 256 SAM2's prompt width.

    from stages.prompting.seg.checkpoint.loading import load_seg_model

    model = load_seg_model(folder, entry, device, precision)   # entry: stages.core.config.file.SegModelEntry
        model.tokenizer            fast tokenizer; model.seg_id, model.tak_id (None where there is no [TAK])
        model.sam2                 SAM2VideoPredictor of the sam2 package; its sam_mask_decoder is the tuned one
        model.untouched_decoder    MaskDecoder, or None where the checkpoint has one decoder alone
        model.object_score         "forced" (logits stay where the object score is ≤ 0) | "predicted" (they become −1024)
        model.mllm, model.text_hidden_fcs   what training trains; SegModel is a torch.nn.Module

        seen = model.encode(images)                     # uint8 (H, W, 3) RGB each, any size: the vision tower runs once
        model.prompt(seen, text)                        # ids up to where the answer begins; images first, then text
        model.states(seen, texts, answers)              # per text (n, D): the state of each [SEG], then [TAK], of the
                                                        # forced answer, in order; before or after the norm as the entry says
        model.generate(seen, texts, max_new_tokens)     # per text an Answer: text, ids, states
        model.project(states_ND)                        # (N, 256) through text_hidden_fcs

Nothing here disables gradients: callers wrap what they only evaluate in torch.inference_mode().
"""
