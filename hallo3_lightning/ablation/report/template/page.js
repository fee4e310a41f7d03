"use strict";

// -- one clip on all screens: played, paused and sought together ---------------------------------------------------

(function () {
  const stage = document.querySelector(".screens");
  if (!stage) return;
  const videos = [...stage.querySelectorAll("video")];
  const lead = videos.find((video) => video.hasAttribute("data-has-sound")) || videos[0];
  const others = videos.filter((video) => video !== lead);
  const controls = document.querySelector(".controls");
  const byId = (id) => document.getElementById(id);
  const fps = Number(controls.dataset.fps);
  const SPEEDS = [1, 0.5, 0.25];
  const APART = 0.06; // seconds from which a screen is set right at once; under that its speed is nudged
  const firsts = new Map(videos.map((video) => [video, video.getAttribute("src")]));
  const blobs = new Map();
  let clip = 0, speed = 1, playing = false, wanted = 0;

  // Some phones play no video from a data: address, so each is turned into a blob, the first time it is shown.
  function address(video, number) {
    const text = number === 0 ? firsts.get(video) : video.getAttribute("data-clip-" + number);
    if (!blobs.has(text)) {
      const bytes = Uint8Array.from(atob(text.slice(text.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
      blobs.set(text, URL.createObjectURL(new Blob([bytes], { type: "video/mp4" })));
    }
    return blobs.get(text);
  }

  function length() {
    return Number.isFinite(lead.duration) ? lead.duration : 0;
  }

  function show(now) {
    const share = length() ? Math.min(now / length(), 1) : 0;
    byId("seek").value = share;
    const frame = Math.min(Math.floor(now * fps + 0.001) + 1, Math.max(Math.round(length() * fps), 1));
    byId("time").textContent = now.toFixed(2) + " of " + length().toFixed(2) + " s, frame " + frame;
    for (const cursor of stage.querySelectorAll(".spark:not([hidden]) .cursor")) cursor.style.left = 100 * share + "%";
  }

  function seek(now) {
    const to = Math.max(0, Math.min(now, length()));
    for (const video of videos) video.currentTime = to;
    show(to);
  }

  // Screens follow the lead: far off they jump, a little off they hurry or wait, which nobody sees.
  function follow() {
    if (!playing) return;
    const now = lead.currentTime;
    for (const video of others) {
      const late = now - video.currentTime;
      if (Math.abs(late) > APART && !video.seeking && !video.ended) video.currentTime = now;
      video.playbackRate = speed * (1 + Math.max(-0.1, Math.min(0.1, 2 * late)));
    }
    show(now);
    requestAnimationFrame(follow);
  }

  function settled(video) {
    if (video.readyState >= 3 && !video.seeking) return Promise.resolve();
    return new Promise((done) => {
      for (const event of ["canplay", "seeked", "error"]) video.addEventListener(event, done, { once: true });
    });
  }

  async function play() {
    const turn = ++wanted;
    const from = lead.ended || lead.currentTime >= length() - 0.01 ? 0 : lead.currentTime;
    for (const video of videos) {
      video.playbackRate = speed;
      if (video.currentTime !== from) video.currentTime = from;
    }
    await Promise.all(videos.map(settled));
    if (turn !== wanted) return; // paused or sent elsewhere meanwhile
    try {
      await Promise.all(videos.map((video) => video.play()));
    } catch (error) {
      if (turn === wanted) pause();
      return;
    }
    if (turn !== wanted) return;
    playing = true;
    controls.classList.add("playing");
    byId("play").setAttribute("aria-label", "Pause");
    requestAnimationFrame(follow);
  }

  function pause() {
    wanted += 1;
    playing = false;
    for (const video of videos) video.pause();
    controls.classList.remove("playing");
    byId("play").setAttribute("aria-label", "Play");
    seek(lead.currentTime);
  }

  function choose(number) {
    const goes = playing;
    pause();
    clip = number;
    for (const button of document.querySelectorAll("[data-clip]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.clip) === clip));
    }
    for (const part of document.querySelectorAll("[data-of-clip]")) part.hidden = Number(part.dataset.ofClip) !== clip;
    for (const video of videos) video.src = address(video, clip);
    show(0);
    if (goes) play();
  }

  function press(button, isOn) {
    button.setAttribute("aria-pressed", String(isOn));
  }

  function mute(isMuted) {
    lead.muted = isMuted;
    press(byId("mute"), isMuted);
    byId("mute").textContent = isMuted ? "sound off" : "sound on";
  }

  byId("mute").hidden = !lead.hasAttribute("data-has-sound");
  byId("play").addEventListener("click", () => (playing ? pause() : play()));
  byId("seek").addEventListener("input", (event) => seek(Number(event.target.value) * length()));
  byId("mute").addEventListener("click", () => mute(!lead.muted));
  byId("loop").addEventListener("click", (event) => press(event.target, event.target.getAttribute("aria-pressed") !== "true"));
  byId("speed").addEventListener("click", (event) => {
    speed = SPEEDS[(SPEEDS.indexOf(speed) + 1) % SPEEDS.length];
    event.target.textContent = speed + "×";
    for (const video of videos) video.playbackRate = speed;
  });
  for (const button of document.querySelectorAll("[data-clip]")) {
    button.addEventListener("click", () => choose(Number(button.dataset.clip)));
  }
  lead.addEventListener("ended", () => {
    if (playing && byId("loop").getAttribute("aria-pressed") === "true") play();
    else pause();
  });
  lead.addEventListener("loadedmetadata", () => show(lead.currentTime));
  for (const video of videos) {
    video.addEventListener("error", () => {
      byId("trouble").hidden = false;
      byId("trouble").textContent = "This browser cannot play these videos (H.264 in mp4).";
    });
    video.addEventListener("click", () => (playing ? pause() : play()));
  }
  for (const spark of stage.querySelectorAll(".spark svg")) {
    const to = (event) => {
      const box = spark.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * length());
    };
    spark.addEventListener("pointerdown", to);
    spark.addEventListener("pointermove", (event) => event.buttons && to(event));
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("button, input, summary, a")) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " ") (playing ? pause : play)();
    else if (event.key === "m") mute(!lead.muted);
    else if (steps) {
      if (playing) pause();
      seek((Math.floor(lead.currentTime * fps + 0.001) + steps + 0.5) / fps);
    } else return;
    event.preventDefault();
  });
  choose(0);
})();

// -- the table of scores, sorted by a click on a heading -----------------------------------------------------------

(function () {
  const table = document.querySelector("table.scores");
  const body = table.querySelector("tbody.arms");
  const value = (row, column) => row.children[column].dataset.value;

  // Numbers best first, names in order of letters; what has no number comes last either way.
  function order(column, turn) {
    return (one, other) => {
      const [a, b] = [value(one, column), value(other, column)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return turn * (column === 0 ? a.localeCompare(b) : Number(b) - Number(a));
    };
  }

  for (const button of table.querySelectorAll("[data-sort-by]")) {
    button.addEventListener("click", () => {
      const heading = button.closest("th");
      const turn = heading.getAttribute("aria-sort") === "descending" ? -1 : 1;
      for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", turn === 1 ? "descending" : "ascending");
      body.append(...[...body.rows].sort(order(Number(button.dataset.sortBy), turn)));
    });
  }
})();

// -- an arm picked in the legend stands out everywhere -------------------------------------------------------------

(function () {
  const buttons = [...document.querySelectorAll("[data-pick]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const isPicked = button.getAttribute("aria-pressed") !== "true";
      for (const other of buttons) other.setAttribute("aria-pressed", String(isPicked && other === button));
      document.body.classList.toggle("picked", isPicked);
      for (const part of document.querySelectorAll("[data-arm]")) {
        part.classList.toggle("is-picked", part.dataset.arm === button.dataset.pick);
      }
    });
  }
})();
