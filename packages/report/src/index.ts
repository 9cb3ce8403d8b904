export { type ReportOptions, renderReport, type Sample } from './render-report.js';
export { type RunRecord, readRun } from './run-record.js';
export { writeReport } from './write-report.js';
