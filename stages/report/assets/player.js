// A player that knows which frame it shows, and draws masks over exactly that frame.
"use strict";
class Player {
  // `draw(index)` gives, for each of the stages, the masks to draw: [texts, colour, opacity].
  constructor(data, stages, controls, draw) {
    Object.assign(this, { data, stages, controls, draw, frame: 0, count: data.times.length, timer: null });
    this.video = stages[0].querySelector("video");
    this.scratch = document.createElement("canvas");
    [this.scratch.height, this.scratch.width] = data.size;
    this.stages.forEach((stage) => { stage.style.aspectRatio = `${data.size[1]} / ${data.size[0]}`; stage.style.maxWidth = `calc(min(34rem, 66vh) * ${data.size[1] / data.size[0]})`; });
    controls.seek.max = this.count - 1;
    controls.play.addEventListener("click", () => this.toggle());
    controls.back.addEventListener("click", () => this.step(-1));
    controls.on.addEventListener("click", () => this.step(1));
    controls.seek.addEventListener("input", () => this.show(Number(controls.seek.value)));
    controls.speed.addEventListener("input", () => { if (this.video) this.video.playbackRate = this.speed; });
    if (this.video) this.follow();
    new ResizeObserver(() => this.render()).observe(stages[0]);
  }
  get speed() { return Number(this.controls.speed.value); }
  get playing() { return this.video ? !this.video.paused : this.timer !== null; }
  get span() { return (n) => (this.data.times[n + 1] ?? this.data.end) - this.data.times[n]; }

  follow() {
    const video = this.video;
    const at = (time) => {
      let n = this.data.times.findIndex((start) => start > time + 1e-3);
      n = n < 0 ? this.count - 1 : Math.max(n - 1, 0);
      this.frame = n;
      this.render();
    };
    if (video.requestVideoFrameCallback) {
      const next = (_, seen) => { at(seen.mediaTime); video.requestVideoFrameCallback(next); };
      video.requestVideoFrameCallback(next);
    } else {
      video.addEventListener("timeupdate", () => at(video.currentTime));
    }
    for (const name of ["play", "pause", "ended"]) video.addEventListener(name, () => this.label());
    video.addEventListener("loadeddata", () => this.render());
    video.addEventListener("seeked", () => this.render());
    video.loop = true;
  }
  toggle() {
    if (this.playing) return this.pause();
    if (this.video) {
      this.video.playbackRate = this.speed;
      this.video.play();
    } else {
      const next = () => {
        this.frame = (this.frame + 1) % this.count;
        this.render();
        this.timer = setTimeout(next, (1000 * this.span(this.frame)) / this.speed);
      };
      this.timer = setTimeout(next, 0);
    }
    this.label();
  }
  pause() {
    if (this.video) this.video.pause();
    clearTimeout(this.timer);
    this.timer = null;
    this.label();
  }
  step(by) { this.show(Math.min(Math.max(this.frame + by, 0), this.count - 1)); }
  show(n) {
    this.pause();
    this.frame = n;
    if (this.video) this.video.currentTime = this.data.times[n] + this.span(n) / 2;
    this.render();
  }
  // What is laid over a frame, at the size of the masks.
  pixels(layers) {
    const [height, width] = this.data.size;
    const image = new ImageData(width, height);
    for (const [texts, colour, opacity] of layers) {
      Masks.paint(image.data, Masks.union(texts, height, width), height, width, colour, opacity);
    }
    return image;
  }
  label() { this.controls.play.textContent = this.playing ? "Pause" : "Play"; }

  render() {
    const { seek, time } = this.controls;
    seek.value = this.frame;
    seek.setAttribute("aria-valuetext", `frame ${this.frame + 1} of ${this.count}`);
    time.textContent = `${this.frame + 1} / ${this.count} · ${this.data.times[this.frame].toFixed(2)} s`;
    this.draw(this.frame).forEach((layers, n) => {
      const canvas = this.stages[n].querySelector("canvas");
      const sharp = Math.min(window.devicePixelRatio || 1, 2);
      const box = canvas.getBoundingClientRect();
      const [across, down] = [Math.max(1, Math.round(box.width * sharp)), Math.max(1, Math.round(box.height * sharp))];
      if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
      this.scratch.getContext("2d").putImageData(this.pixels(layers), 0, 0);
      const target = canvas.getContext("2d");
      target.clearRect(0, 0, across, down);
      if (n && this.video && this.video.readyState > 1) target.drawImage(this.video, 0, 0, across, down);
      target.imageSmoothingEnabled = false;
      target.drawImage(this.scratch, 0, 0, across, down);
    });
  }
}
