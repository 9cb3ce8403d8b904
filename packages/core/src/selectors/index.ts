export { type Aggregation, aggregate } from './aggregate.js';
export { type FixedOptions, fixed, fixedOptions, fixedSelector } from './fixed.js';
export {
  type ImportanceFile,
  type ImportanceOrigin,
  importanceSchema,
  readImportance,
  writeImportance,
} from './importance-file.js';
export { intersect } from './intersect.js';
export { pin } from './pin.js';
export { cutRanking, type RankingCut, rankUnits } from './ranking.js';
export { type SchedulePart, schedule } from './schedule.js';
