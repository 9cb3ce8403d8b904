import { learningRateFactor, type Schedule } from './schedule.js';

const at = (schedule: Schedule, step: number, warmupSteps = 10, steps = 100) =>
  learningRateFactor(step, { schedule, warmupSteps, steps });

// Values of transformers' get_*_schedule_with_warmup for 10 warmup steps of 100.
test.each<[Schedule, number, number]>([
  ['linear', 0, 0],
  ['linear', 5, 0.5],
  ['linear', 10, 1],
  ['linear', 55, 0.5],
  ['linear', 100, 0],
  ['cosine', 0, 0],
  ['cosine', 5, 0.5],
  ['cosine', 10, 1],
  ['cosine', 32.5, 0.8535534],
  ['cosine', 55, 0.5],
  ['cosine', 100, 0],
  ['constant', 5, 0.5],
  ['constant', 10, 1],
  ['constant', 99, 1],
])('%s at step %d is %d', (schedule, step, factor) => expect(at(schedule, step)).toBeCloseTo(factor, 7));

test.each<Schedule>(['linear', 'cosine', 'constant'])('%s without warmup begins at the peak', (schedule) => {
  expect(at(schedule, 0, 0)).toBe(1);
});

test.each<Schedule>(['linear', 'cosine', 'constant'])('%s is never negative nor above 1, nor NaN', (schedule) => {
  for (const [warmup, steps] of [
    [0, 1],
    [1, 1],
    [5, 3],
    [2, 7],
  ] as const) {
    for (let step = 0; step < steps; step++) {
      const factor = at(schedule, step, warmup, steps);
      expect(factor >= 0 && factor <= 1).toBe(true);
    }
  }
});
