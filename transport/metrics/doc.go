// Package metrics serves a gateway's figures to Prometheus.
//
// The gateway does not know this package. Events come from the supervisor's event stream, the present state
// from its snapshot, and the rest from decorators around what a [transport.Handler] is given. No label has
// a value that a client or an agent chooses: a value outside a closed set is "other". All series of these
// sets are there from the beginning, so that the first event shows in a rate. Agents are called as
// configuration and grants call them; an agent's series are there from its first session on.
//
// Histograms are native ones where Prometheus asks for them. The metrics process_… and go_… are served too.
// Where the admin listener wants a token, Prometheus sends it with this in its scrape config:
//
//	authorization: {credentials_file: …}
//
// # Metrics
//
//	lastcall_agent_connections (gauge)
//	    Connections to agents.
//
//	lastcall_agent_fields_dropped_total (counter)
//	    Fields of agents' messages that clients did not get: the contract does not have them.
//
//	lastcall_agent_stop_duration_seconds (histogram)
//	    agent
//	    How long agents took to end the streams of sessions that were stopped. The first 20 agents have their names; any other is other.
//
//	lastcall_agent_streams (gauge)
//	    Streams on these connections.
//
//	lastcall_authorization_duration_seconds (histogram)
//	    result: allowed, cancelled, denied, unavailable
//	    How long it took to authorize requests. cancelled: the client has gone.
//
//	lastcall_bad_input_total (counter)
//	    kind: duplicate_request, invalid_message, not_allowed, other, protocol_error, too_big, unknown_action, unknown_event, unknown_field, unknown_request
//	    What was wrong with messages, counted when their session ends.
//
//	lastcall_build_info (gauge)
//	    goversion
//	    version
//	    1, for what is running.
//
//	lastcall_drain_deadline_timestamp_seconds (gauge)
//	    scope: all, part
//	    By when the last of the drains under way is over, in Unix time; 0: there is none.
//
//	lastcall_drain_duration_seconds (histogram)
//	    scope: all, part
//	    How long drains took.
//
//	lastcall_drain_estimate_cut_sessions (gauge)
//	    Sessions that are likely to run into the stop timeout or the deadline in a drain of everything. Absent with the estimate.
//
//	lastcall_drain_estimate_limit_seconds (gauge)
//	    When sessions that are left would be killed in a drain of everything, from its begin. Absent with the estimate.
//
//	lastcall_drain_estimate_seconds (gauge)
//	    quantile: 0.5, 0.99
//	    How long a drain of everything would take until no session is left, by the stops of sessions so far. Absent while everything drains, and before a session has stopped.
//
//	lastcall_drain_phase_duration_seconds (histogram)
//	    phase: delay, services, sessions
//	    How long the parts of a drain of everything took. services: where it stopped them.
//
//	lastcall_drain_sessions_left (gauge)
//	    scope: all, part
//	    Sessions, and requests on their way to one, that the drains under way wait for.
//
//	lastcall_draining (gauge)
//	    1 from the first moment of a drain of everything until it is resumed, as /readyz says; else 0.
//
//	lastcall_drains_total (counter)
//	    result: drained, killed
//	    scope: all, part
//	    Drains that are over. part: of some sessions, or of one that had reached its age limit; killed: at least one session was.
//
//	lastcall_lease_acquisitions_total (counter)
//	    result: acquired, cancelled, held, unavailable
//	    Leases that were asked for. held: another session has it; cancelled: the session ended first.
//
//	lastcall_lease_release_failures_total (counter)
//	    Leases that could not be released; the store frees them by itself.
//
//	lastcall_lease_store_failures_total (counter)
//	    operation: acquire, renew
//	    Calls of the lease store that failed: leases asked for, rounds of renewal.
//
//	lastcall_lease_store_reachable (gauge)
//	    1 while the lease store keeps leases, as far as was seen last, or where there is none that can fail; else 0.
//
//	lastcall_leases_held (gauge)
//	    Leases that sessions hold.
//
//	lastcall_leases_lost_total (counter)
//	    Leases that were lost while they were held.
//
//	lastcall_leases_unguarded (gauge)
//	    Leases that are held though the store could not be reached.
//
//	lastcall_log_records_dropped_total (counter)
//	    Log records that were dropped: nothing read the log, or it could not be written.
//
//	lastcall_message_bytes_total (counter)
//	    direction: received, sent
//	    Bytes of the messages that were received from clients and sent to them, as JSON.
//
//	lastcall_messages_total (counter)
//	    direction: received, sent
//	    Messages that were received from clients and sent to them.
//
//	lastcall_panics_total (counter)
//	    where: service, session, supervisor, tool
//	    Panics that were survived. tool: in a tool call; it is not counted as its session's too.
//
//	lastcall_requests_refused_total (counter)
//	    reason: denied, draining, full, handshake, invalid_body, origin, other, principal_full, undecided
//	    Requests that did not become a session.
//
//	lastcall_scrape_errors_total (counter)
//	    Scrapes without what the supervisor knows: it gave no snapshot in time.
//
//	lastcall_session_duration_seconds (histogram)
//	    outcome: cancelled, client_gone, completed, drained, failed, killed, refused
//	    How long sessions lasted.
//
//	lastcall_session_phase_duration_seconds (histogram)
//	    phase: closing, opening, stopping
//	    How long sessions were opening, stopping and closing. What is between is serving.
//
//	lastcall_sessions (gauge)
//	    kind: dap, other
//	    phase: closing, opening, serving, stopping
//	    transport: grpc, http, other, sse, websocket
//	    Sessions that there are.
//
//	lastcall_sessions_ended_total (counter)
//	    code: 1000, 1001, 1002, 1005, 1007, 1008, 1009, 1011, 1013, 3000, 3003, 4400, none, other
//	    outcome: cancelled, client_gone, completed, drained, failed, killed, refused
//	    Sessions that have ended, by outcome, and by the close code that the client got or sent; none: the connection was lost or cut.
//
//	lastcall_sessions_opened_total (counter)
//	    kind: dap, other
//	    transport: grpc, http, other, sse, websocket
//	    Sessions that have begun.
//
//	lastcall_tickets (gauge)
//	    Requests that were admitted and are on their way to a session.
//
//	lastcall_tool_call_duration_seconds (histogram)
//	    kind: other, runHTTPRequest, runMCPTool, trackLlmCallForSelfHosted
//	    How long tool calls took.
//
//	lastcall_tool_calls_running (gauge)
//	    Tool calls under way.
//
//	lastcall_tool_calls_total (counter)
//	    kind: other, runHTTPRequest, runMCPTool, trackLlmCallForSelfHosted
//	    result: cancelled, error, ok, panic, timeout
//	    Tool calls that have ended. error: also one whose answer says so.
//
//	lastcall_tool_http_calls_total (counter)
//	    method: DELETE, GET, HEAD, PATCH, POST, PUT, other
//	    status: 2xx, 3xx, 4xx, 5xx, none, other
//	    Calls of runHTTPRequest that have ended, by the class of the answer's status; none: there was no answer.
//
//	lastcall_tools_unavailable_total (counter)
//	    Tools, or parts of them, that a session could not open and went on without.
package metrics
