const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Gives the signals back. */
  release(): void;
}

/** The first Ctrl-C (or SIGTERM) aborts the signal; then the system's own handling is back, so that a second one kills at once. */
export function onInterrupt(first: () => void): Interrupt {
  const controller = new AbortController();
  const release = () => {
    for (const name of SIGNALS) process.removeListener(name, handle);
  };
  const handle = () => {
    release();
    controller.abort();
    first();
  };
  for (const name of SIGNALS) process.on(name, handle);
  return { signal: controller.signal, release };
}
