// The page of a video: its expressions, the player, the candidates, and what was asked about them.
"use strict";
(() => {
  const data = window.referee.video;
  const by = (id) => document.getElementById(id);
  const COLOURS = [[255, 64, 32], [0, 170, 255], [255, 214, 0], [0, 200, 83], [213, 0, 249], [255, 145, 0], [29, 53, 255], [0, 255, 213]];
  const WHITE = [255, 255, 255];
  const state = { expression: data.expressions[0], candidate: null };
  const layer = (id) => { const box = by(id); return Boolean(box && box.checked && !box.disabled); };

  // ------------------------------------------------------------ the player
  const objectColours = (expression) => {
    const objects = [...new Set(expression.candidates.filter((c) => c.chosen).map((c) => c.object ?? c.name))];
    return new Map(objects.map((object, n) => [object, COLOURS[n % COLOURS.length]]));
  };
  const masksAt = (tracks, t) => tracks.map((track) => data.tracks[track].masks[t]);
  function layers(t) {
    const { expression, candidate } = state;
    const truth = layer("truth") && expression.truth ? [[expression.truth.map((key) => data.truth[key][t]), WHITE, 0]] : [];
    const mine = [];
    if (layer("prediction")) {
      for (const [object, colour] of objectColours(expression)) {
        const tracks = expression.candidates.filter((c) => c.chosen && (c.object ?? c.name) === object && c.track !== null);
        mine.push([masksAt(tracks.map((c) => c.track), t), colour, 105]);
      }
    }
    if (candidate !== null && candidate.track !== null && layer("candidate")) mine.push([masksAt([candidate.track], t), COLOURS[4], 120]);
    const all = layer("overlay") ? [...mine, ...truth] : [];
    if (!by("other-stage")) return [all];
    const other = layer("prediction") && expression.otherMasks ? [[[expression.otherMasks[t]], COLOURS[0], 105]] : [];
    return [all, layer("overlay") ? [...other, ...truth] : []];
  }
  if (data.media) {
    const video = make("video", { src: `../${data.media}`, muted: true, playsinline: true, preload: "auto", "aria-hidden": "true", tabindex: "-1" });
    video.muted = true;
    by("stage").prepend(video);
  }
  const stages = [by("stage"), by("other-stage")].filter(Boolean);
  const controls = { play: by("play"), back: by("back"), on: by("on"), seek: by("seek"), time: by("time"), speed: by("speed") };
  const player = new Player(data, stages, controls, layers);
  window.referee.player = player;
  for (const box of by("layers").querySelectorAll("input")) box.addEventListener("input", () => player.render());
  by("player").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
    const flip = (id) => { if (!by(id).disabled) { by(id).checked = !by(id).checked; player.render(); } };
    const seeking = event.target === controls.seek;
    const keys = { ArrowLeft: () => player.step(-1), ArrowRight: () => player.step(1), o: () => flip("overlay"), p: () => flip("prediction"), t: () => flip("truth") };
    if (event.key === " " && !event.target.matches("button, input[type=checkbox]")) keys[" "] = () => player.toggle();
    if (seeking && event.key.startsWith("Arrow")) return; // the slider moves by itself
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });

  // ------------------------------------------------------------ the list of expressions
  const hash = () => decodeURIComponent(location.hash.slice(1));
  const buttons = data.expressions.map((expression) =>
    make("button", { type: "button", onclick: () => { location.hash = encodeURIComponent(expression.id); } },
      expression.sentence || "(no words)",
      make("span", { class: "facts" }, badge(expression.outcome), expression.jf === null ? "" : `J&F ${percent(expression.jf)}`)));
  by("list").append(...buttons.map((button) => make("li", {}, button)));

  function select(id) {
    state.expression = data.expressions.find((expression) => expression.id === id) || data.expressions[0];
    state.candidate = null;
    buttons.forEach((button, n) => button.setAttribute("aria-current", String(data.expressions[n] === state.expression)));
    about();
    candidates();
    asked();
    const truth = by("truth");
    truth.disabled = !state.expression.truth;
    by("candidate").disabled = true;
    player.render();
    document.documentElement.dataset.ready = `expression ${state.expression.id}`;
  }

  // ------------------------------------------------------------ about the expression
  function about() {
    const e = state.expression;
    by("sentence").textContent = e.sentence || "(no words)";
    const facts = [badge(e.outcome)];
    const fact = (name, value) => facts.push(make("span", {}, make("span", { class: "soft" }, `${name} `), make("b", {}, value)));
    if (e.jf !== null) fact("J&F", percent(e.jf));
    if (e.oracle !== null) fact("best choice of these tracks", percent(e.oracle));
    if (e.other !== null) fact("other run", percent(e.other));
    if (e.group) fact("group", e.group);
    if (e.truth) fact("refers to", e.truth.length ? `${e.truth.length} object${e.truth.length > 1 ? "s" : ""}` : "nothing");
    fact("chosen", `${e.candidates.filter((c) => c.chosen).length} of ${e.candidates.length} tracks`);
    if (e.number !== null) fact("asks for", String(e.number));
    if (e.missing) facts.push(make("span", { class: "soft" }, "no prediction was imported: counts as empty"));
    if (e.defect) facts.push(make("span", { class: "soft" }, e.defect));
    by("about").replaceChildren(...facts);
  }

  // ------------------------------------------------------------ candidates
  function terms(candidate) {
    const names = Object.keys(data.fusion.weights);
    const listed = [["bias", data.fusion.bias], ...names.map((name, n) => [`${name}  × ${data.fusion.weights[name].toFixed(3)}`, candidate.terms[n]])]
      .filter(([, value]) => value !== 0);
    const most = Math.max(...listed.map(([, value]) => Math.abs(value)), 1e-9);
    const sum = listed.reduce((total, [, value]) => total + value, 0);
    const bars = listed.flatMap(([name, value]) => {
      const bar = make("i", { class: value < 0 ? "minus" : "" });
      bar.style.width = `${(50 * Math.abs(value)) / most}%`;
      bar.style[value < 0 ? "right" : "left"] = "50%";
      return [make("span", {}, name), make("span", {}, signed(value, 2)), make("span", { class: "track", "aria-hidden": "true" }, bar)];
    });
    const same = state.expression.candidates.filter((c) => c !== candidate && c.object === candidate.object).map((c) => c.name);
    const note = same.length ? `Same object as ${same.join(", ")}: their mean counts.` : "";
    return make("div", {}, make("div", { class: "terms" }, bars),
      make("p", { class: "small soft" }, `Together ${signed(sum, 2)}; final score ${signed(candidate.final, 2)}. ${note}`));
  }
  function candidates() {
    const e = state.expression;
    const names = [...new Set(e.candidates.flatMap((c) => Object.keys(c.evidence)))].sort();
    const heads = ["Show", "Track", "Probability", "Final", "Score", ...names, ""];
    const rows = e.candidates.flatMap((c, n) => {
      const why = make("tr", { id: `why${n}`, hidden: true }, make("td", { class: "why", colspan: heads.length }));
      const open = c.terms && make("button", { type: "button", class: "small", "aria-expanded": "false", "aria-controls": `why${n}`, onclick: (event) => {
        why.hidden = !why.hidden;
        event.currentTarget.setAttribute("aria-expanded", String(!why.hidden));
        if (!why.firstChild.firstChild) why.firstChild.append(terms(c));
      } }, "Why");
      const show = make("input", { type: "radio", name: "shown", "aria-label": `show ${c.name}`, disabled: c.track === null,
        title: c.track === null ? "not among the best: its masks are not kept" : null, oninput: () => {
          state.candidate = c;
          by("candidate").disabled = false;
          by("candidate").checked = true;
          player.render();
        } });
      const numbers = [percent(sigmoid(c.final)), signed(c.final, 2), signed(c.score, 2), ...names.map((name) => (name in c.evidence ? signed(c.evidence[name], 2) : "–"))];
      return [make("tr", { class: c.chosen ? "chosen" : "" }, make("td", { class: "name" }, show),
        make("td", { class: "name" }, c.name, c.chosen ? make("b", {}, "  chosen") : null), numbers.map((text) => make("td", {}, text)), make("td", {}, open)), why];
    });
    by("candidates").replaceChildren(e.candidates.length
      ? make("table", { class: "candidates" }, make("thead", {}, make("tr", {}, heads.map((head, n) => (head ? make("th", { scope: "col", class: n < 2 ? "name" : "" }, head) : make("td", {}))))), make("tbody", {}, rows))
      : make("p", { class: "soft" }, e.missing ? "Nothing was predicted." : "There are no candidates: nothing was tracked for this expression."));
  }

  // ------------------------------------------------------------ what was asked
  const picture = (part) => make("img", { src: `../pictures/${part.picture}.jpg`, loading: "lazy", alt: "picture that the model was shown", width: part.width, height: part.height });
  const shown = (indices) => indices.map((n) => data.asked.parts[n]).map((part) => (typeof part === "string" ? part : data.pictures ? picture(part) : `[picture, ${part.width} × ${part.height}] `));
  function reply(way, answer) {
    const question = data.asked.questions[answer.key];
    const options = answer.scores.map((score, n) => [question ? question.options[n] : answer.scores.length === 2 ? ["yes", "no"][n] : String(n + 1), Math.exp(score)]);
    const listed = options.map(([name, share]) => make("span", {}, `${name} `, make("b", {}, `${percent(share)} %`)));
    const asked = question ? make("blockquote", {}, shown(question.asked)) : make("p", { class: "soft" }, "The question cannot be shown.");
    const off = answer.mass < 0.9 ? make("span", { class: "soft" }, `only ${percent(answer.mass)} % of the probability is on these words`) : null;
    return make("div", { class: "asked" }, make("p", { class: "soft small" }, way), asked, make("div", { class: "reply" }, listed, off));
  }
  const isAnswer = (value) => value && typeof value === "object" && "key" in value && "scores" in value && "mass" in value;
  function answersIn(value, way = "") {
    if (isAnswer(value)) return [[way, value]];
    if (Array.isArray(value)) return value.flatMap((item) => answersIn(item, way));
    return value && typeof value === "object" ? Object.entries(value).flatMap(([name, item]) => answersIn(item, name)) : [];
  }
  const WAYS = { for: "asked for it", against: "asked against it", choice: "asked which", free_for: "the same of a description that says nothing",
    free_against: "against, of a description that says nothing", free_choice: "which, of a description that says nothing" };
  const named = (way) => WAYS[way] || way;
  function facts(provenance) {
    const plain = Object.entries(provenance).filter(([, value]) => typeof value !== "object");
    return plain.length ? make("p", { class: "small" }, plain.map(([name, value]) => `${name} ${value}`).join(" · ")) : null;
  }
  // Rounds of an agent: what was shown, asked and written in each; the verdicts are beside the tracks.
  const soft = (text) => make("p", { class: "small soft" }, text);
  function written(way, answer) {
    const question = data.asked.questions[answer.key];
    const asked = question ? make("blockquote", {}, shown([...question.context, ...question.asked])) : soft("The question cannot be shown.");
    return make("div", { class: "asked" }, soft(way), asked, make("div", { class: "reply" }, answer.text || "(nothing)"));
  }
  function look(one) {
    const objects = one.tracks.map((track, n) => `${n + 1} = ${track.source} ${track.track}`).join(", ");
    return [soft(`Objects ${objects}; frames ${one.frames.join(", ")}`),
      one.verdicts && written("asked for verdicts", one.verdicts), one.fault && soft(`That cannot be used: ${one.fault}.`),
      one.repair && written("asked once more", one.repair), one.second_fault && soft(`That cannot be used either: ${one.second_fault}.`),
      one.unanswered && soft(one.unanswered)];
  }
  function rounds(provenance) {
    const all = (provenance.rounds || []).flatMap((round) => [make("p", {}, make("b", {}, `Round ${round.round}`)), ...round.looks.flatMap(look)]);
    return [...all, provenance.ended && make("p", {}, `The end: ${provenance.ended}.`)].filter(Boolean);
  }
  const verdict = (one) => soft(`round ${one.round}, as object ${one.number}: ${one.verdict} (${signed(one.log_odds, 2)})${one.reason ? ` – ${one.reason}` : ""}`);
  function ofTrack(name, provenance, value) {
    const answers = answersIn(provenance);
    const verdicts = (provenance.judged || []).filter((one) => one.verdict).map(verdict);
    const same = provenance.same_as ? make("p", { class: "small" }, `as ${provenance.same_as.source} ${provenance.same_as.track}, which shows the same object`) : null;
    return make("details", {}, make("summary", {}, name, value === undefined ? "" : make("span", { class: "soft" }, `  ${signed(value, 2)}`)), same, facts(provenance), verdicts, answers.map(([way, answer]) => reply(named(way), answer)));
  }
  function ofName(name, known) {
    const box = make("details", { class: "panel" }, make("summary", {}, make("b", {}, name), known.existence === null ? "" : `  ·  that there is such an object: ${signed(known.existence, 2)} (log-odds)`));
    box.addEventListener("toggle", () => {
      if (!box.open || box.dataset.filled) return;
      box.dataset.filled = "yes";
      const all = [...answersIn(known.provenance), ...Object.values(known.tracks).flatMap((p) => answersIn(p))];
      const contexts = [...new Set(all.map(([, a]) => data.asked.questions[a.key]).filter((q) => q && q.context.length).map((q) => q.context.join()))];
      for (const text of contexts) box.append(make("p", { class: "soft small" }, contexts.length > 1 ? "Shown before some of the questions:" : "Shown before every question:"), make("blockquote", {}, shown(text.split(",").map(Number))));
      const frames = (known.provenance.shown || []).map((one) => one.frames.join(", "));
      if (frames.length) box.append(make("p", { class: "small soft" }, `Frames: ${frames.join("; ")}`));
      box.append(...rounds(known.provenance));
      box.append(...answersIn(known.provenance).map(([way, answer]) => reply(named(way), answer)));
      const order = state.expression.candidates.map((c) => c.name);
      const value = (track) => (state.expression.candidates[order.indexOf(track)] || { evidence: {} }).evidence[name];
      const tracks = Object.entries(known.tracks).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
      if (tracks.length) box.append(make("p", { class: "soft small" }, "By track, in log-odds:"), ...tracks.map(([track, provenance]) => ofTrack(track, provenance, value(track))));
    });
    return box;
  }
  function asked() {
    const known = Object.entries(state.expression.evidence);
    const unknown = Object.entries(data.asked.unknown).map(([name, reason]) => make("p", { class: "panel notice" }, `${name}: ${reason}`));
    by("asked").replaceChildren(...unknown, ...known.map(([name, about]) => ofName(name, about)),
      ...(known.length ? [] : [make("p", { class: "soft" }, "No evidence was gathered: the selector's scores decided (rerank.evidence in config.yaml).")]));
  }

  window.addEventListener("hashchange", () => select(hash()));
  select(hash());
})();
