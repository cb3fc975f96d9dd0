// Runs in the page. Looks at one cell in every frame: when is a new picture on the screen, and does anything jump?
(() => {
  const kernel = () => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const probe = (window.probe = { pressed: [], painted: [], jump: 0 });

  const outputs = () => document.querySelectorAll('.jp-Notebook .jp-CodeCell')[probe.cell].querySelector('.jp-Cell-outputArea');
  const place = () => {
    const { top, height } = outputs().getBoundingClientRect();
    return [top, height];
  };

  probe.watch = (cell) => {
    for (const { bitmap } of probe.painted) bitmap.then((b) => b.close()); // megabytes each
    Object.assign(probe, { cell, pressed: [], painted: [], jump: 0 });
    outputs().querySelector('.noUi-handle').focus();
    probe.source = outputs().querySelector('img').src;
    probe.start = place();
  };

  addEventListener('keydown', () => probe.pressed.push(performance.now()), true);

  async function frame() {
    requestAnimationFrame(frame);
    if (probe.cell === undefined) return;
    place().forEach((now, i) => (probe.jump = Math.max(probe.jump, Math.abs(now - probe.start[i]))));
    const image = outputs().querySelector('img');
    if (!image || image.src === probe.source || !image.complete || !image.naturalWidth) return;
    probe.source = image.src;
    try {
      await image.decode();
    } catch {
      return; // the next picture came first
    }
    const bitmap = createImageBitmap(image); // a copy made off the main thread, to be compared later
    requestAnimationFrame(() => probe.painted.push({ time: performance.now(), bitmap }));
  }
  requestAnimationFrame(frame);

  // The read-out under the picture begins with the value that it is for.
  const right = () => outputs().textContent.includes(`η = ${outputs().querySelector('.widget-readout').textContent}:`);

  // Waits until a picture came after the last key press, is for the slider's value, and nothing comes after it.
  probe.settle = () =>
    new Promise((resolve, reject) => {
      const look = () => {
        const [now, key, picture] = [performance.now(), probe.pressed.at(-1), probe.painted.at(-1)?.time ?? 0];
        if (picture > key && now > picture + 250 && kernel().status === 'idle' && right()) resolve();
        else if (now > key + 20000) reject(new Error('no new picture in 20 s'));
        else setTimeout(look, 20);
      };
      look();
    });

  async function hash(bitmap) {
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext('2d');
    context.drawImage(bitmap, 0, 0);
    const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    return String(new Uint8Array(await crypto.subtle.digest('SHA-256', pixels)));
  }

  probe.single = async () => {
    await probe.settle();
    return probe.painted[0].time - probe.pressed[0];
  };

  // The last picture is there when the pixels that stay came first, not when they came for the last time.
  probe.drag = async () => {
    await probe.settle();
    const { pressed, painted, jump } = probe;
    const hashes = [];
    for (const { bitmap } of painted) hashes.push(await hash(await bitmap));
    const last = hashes.findLastIndex((h) => h !== hashes.at(-1)) + 1;
    const end = pressed.at(-1);
    return { last: painted[last].time - end, pictures: painted.filter(({ time }) => time <= end).length, jump };
  };

  probe.run = async (code, value) => {
    const reply = (await kernel().requestExecute({ code, user_expressions: { value } }).done).content;
    if (reply.status !== 'ok') throw new Error(reply.evalue);
    return reply.user_expressions.value.data['text/plain'];
  };
})();
