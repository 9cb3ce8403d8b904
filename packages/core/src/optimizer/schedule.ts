/** How the learning rate runs over the steps. */
export type Schedule = 'constant' | 'linear' | 'cosine';

export interface ScheduleOptions {
  readonly schedule: Schedule;
  /** Steps over which the rate rises from 0. With any, the very first step has rate 0, as in transformers. */
  readonly warmupSteps: number;
  readonly steps: number;
}

/** Factor on the peak learning rate at a 0-based step: transformers' get_{constant,linear,cosine}_schedule_with_warmup. */
export function learningRateFactor(step: number, { schedule, warmupSteps, steps }: ScheduleOptions): number {
  if (step < warmupSteps) return step / Math.max(1, warmupSteps);
  const length = Math.max(1, steps - warmupSteps);
  if (schedule === 'linear') return Math.max(0, (steps - step) / length);
  if (schedule === 'cosine') return Math.max(0, 0.5 * (1 + Math.cos((Math.PI * (step - warmupSteps)) / length)));
  return 1;
}
