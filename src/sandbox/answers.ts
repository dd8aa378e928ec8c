/** What the fake Aidge writes on the wire: envelopes, results in each product's own shape, and broken answers. */

import type { ServerResponse } from 'node:http'
import { type GatewayError, gatewayError, SERVICE_MESSAGES } from './gateway.ts'
import { resetConnection, writeEndlessly } from './listen.ts'
import type { Reply, Trouble, Yield } from './lives.ts'
import { pictureUrl } from './pictures.ts'
import type { Product } from './products.ts'

/** The ids that come with every answer; the vendor's `requestId` and `_trace_id_` are one and the same. */
export interface RequestIds {
  readonly requestId: string
  readonly gatewayId: string
}

export interface AnswerContext {
  readonly product: Product
  readonly taskId: string
  /** Milliseconds since the epoch at which the task was first seen. */
  readonly seenAt: number
  readonly baseUrl: string
  readonly ids: RequestIds
}

const RESULT_COUNT = 2

export function gatewayText(error: GatewayError, ids: RequestIds): string {
  return JSON.stringify({ ...error, request_id: ids.gatewayId })
}

export function serviceErrorText(code: number, ids: RequestIds, detail = ''): string {
  const message = (SERVICE_MESSAGES[code] ?? 'an error that no page names') + detail
  return JSON.stringify({
    requestId: ids.requestId,
    success: false,
    resCode: code,
    resMessage: message,
    code: '0',
    request_id: ids.gatewayId,
    _trace_id_: ids.requestId,
  })
}

export function submittedText(product: Product, taskId: string, ids: RequestIds): string {
  return successText({ ...product, isBare: false }, product.hasFlatSubmit ? { taskId } : { result: { taskId } }, ids)
}

function successText(product: Product, content: object | null, ids: RequestIds): string {
  const tail = { code: '0', request_id: ids.gatewayId, _trace_id_: ids.requestId }
  if (product.isBare) return JSON.stringify({ data: content, ...tail })
  const head = { data: content, requestId: ids.requestId, success: true, resCode: 200, resMessage: 'success' }
  return JSON.stringify({ ...head, ...tail })
}

function finishedText(
  { product, taskId, seenAt, baseUrl, ids }: AnswerContext,
  yields: Yield,
  afterMs: number,
): string {
  const count = yields.kind === 'none' ? 0 : RESULT_COUNT
  const urls = Array.from({ length: count }, (_, index) =>
    pictureUrl({ baseUrl, taskId, index, suffix: product.pictureSuffix, madeAt: seenAt + afterMs }),
  )
  const content = {
    ...product.results(urls, yields.kind === 'partial'),
    taskStatus: 'finished',
    taskId,
    ...(yields.kind === 'huge' ? { editorData: 'x'.repeat(yields.bytes) } : {}),
  }
  return successText(product, content, ids)
}

/** One answer as it goes over the wire, or what happens instead of one. */
export type WireAnswer =
  | {
      readonly kind: 'answer'
      readonly status: number
      readonly headers: Readonly<Record<string, string>>
      readonly text: string
    }
  | { readonly kind: 'hang' | 'stall' | 'reset' | 'endless' }

const JSON_TYPE = 'application/json;charset=utf-8'

export function jsonAnswer(text: string): WireAnswer {
  return textAnswer(JSON_TYPE, text)
}

function textAnswer(contentType: string, text: string): WireAnswer {
  return { kind: 'answer', status: 200, headers: { 'content-type': contentType }, text }
}

export function answerOf(reply: Reply, context: AnswerContext): WireAnswer {
  const { product, taskId, ids } = context
  switch (reply.kind) {
    case 'finished':
      return jsonAnswer(finishedText(context, reply.yields, reply.afterMs))
    case 'failed':
      return jsonAnswer(
        successText(product, { taskMessage: 'the generation failed', taskStatus: 'failed', taskId }, ids),
      )
    case 'status':
      return jsonAnswer(successText(product, { taskStatus: reply.word, taskId }, ids))
    default:
      return troubledAnswer(reply, context)
  }
}

function troubledAnswer(trouble: Trouble, context: AnswerContext): WireAnswer {
  const { product, ids } = context
  switch (trouble.kind) {
    case 'code':
      return jsonAnswer(serviceErrorText(trouble.code, ids))
    case 'gateway':
      return jsonAnswer(gatewayText(gatewayError(trouble.code, trouble.banSeconds), ids))
    case 'http':
      return statusAnswer(trouble.status, trouble.retryAfterSeconds)
    case 'nodata':
      return jsonAnswer(successText(product, null, ids))
    case 'foreign':
      return jsonAnswer(finishedText({ ...context, taskId: `${context.taskId}-other` }, { kind: 'all' }, 0))
    case 'garbage':
      return textAnswer('text/plain', 'upstream connect error or disconnect before headers')
    case 'html':
      return textAnswer('text/html', '<!doctype html><title>Welcome</title><p>Please sign in to the network.')
    case 'truncated':
      return jsonAnswer('{"data":{"taskResult":[{"width":768,"url":"http://')
    case 'empty':
      return jsonAnswer('')
    case 'endless':
    case 'stall':
    case 'reset':
    case 'hang':
      return { kind: trouble.kind }
  }
}

/** A bare status, as a proxy on the way would give it: no JSON. */
function statusAnswer(status: number, retryAfterSeconds: number): WireAnswer {
  const headers = {
    'content-type': 'text/html',
    ...(status === 429 ? { 'retry-after': String(retryAfterSeconds) } : {}),
    ...(status >= 300 && status < 400 ? { location: '/elsewhere' } : {}),
  }
  return { kind: 'answer', status, headers, text: `<html><body>${status}</body></html>` }
}

/** Sends the answer, or leaves the client without one. */
export function send(response: ServerResponse, answer: WireAnswer): void {
  switch (answer.kind) {
    case 'answer':
      response.writeHead(answer.status, answer.headers)
      response.end(answer.text)
      break
    case 'endless':
      response.writeHead(200, { 'content-type': JSON_TYPE })
      writeEndlessly(response)
      break
    case 'stall':
      response.writeHead(200, { 'content-type': JSON_TYPE, 'content-length': 4096 })
      response.write('{"data":')
      break
    case 'reset':
      resetConnection(response)
      break
    case 'hang':
      break
  }
}

/** As long as the vendor's ids, and different at every request. */
export function requestIds(number: number, at: number): RequestIds {
  const count = number.toString(16).padStart(8, '0')
  const millis = String(Math.floor(at)).padStart(13, '0')
  return { requestId: `2141${millis}${count}e1857`, gatewayId: `212a${millis}${count}` }
}
