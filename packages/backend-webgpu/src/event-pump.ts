/**
 * Dawn's events, on demand. Dawn for Node looks for finished work in a callback that it gives to `setImmediate`, so that nothing finishes
 * while JavaScript runs: WebGPU has no synchronous read. That callback may be called at any time, and this is what makes one.
 */
export class EventPump {
  private processEvents: (() => void) | undefined;

  /** Runs `start`, the first asynchronous call on a Dawn instance: it hands its callback over synchronously. */
  capture<T>(start: () => T): T {
    const schedule = globalThis.setImmediate;
    return this.replaceSetImmediate((callback) => {
      this.processEvents ??= callback;
      schedule(callback);
    }, start);
  }

  get ready(): boolean {
    return this.processEvents !== undefined;
  }

  /** Processes events, once at least, until `done`: in the middle of a synchronous call. */
  runUntil(done: () => boolean): void {
    const processEvents = this.processEvents!;
    let postponed = false;
    this.replaceSetImmediate(
      () => {
        postponed = true;
      },
      () => {
        do processEvents();
        while (!done());
      },
    );
    // Others still wait, and their turn was swallowed above.
    if (postponed) setImmediate(processEvents);
  }

  private replaceSetImmediate<T>(replacement: (callback: () => void) => void, work: () => T): T {
    const original = globalThis.setImmediate;
    globalThis.setImmediate = replacement as unknown as typeof setImmediate;
    try {
      return work();
    } finally {
      globalThis.setImmediate = original;
    }
  }
}
