# frozen_string_literal: true

# Net::HTTP, the client of the AWS SDK for Ruby, with the endpoints that handlers build; in a runtime of its own.
require "aws-sigv4"
require "json"
require "net/http"

def sign(url, body)
  Aws::Sigv4::Signer.new(
    service: "execute-api",
    region: ENV.fetch("AWS_REGION"),
    access_key_id: ENV.fetch("AWS_ACCESS_KEY_ID"),
    secret_access_key: ENV.fetch("AWS_SECRET_ACCESS_KEY"),
    session_token: ENV["AWS_SESSION_TOKEN"]
  ).sign_request(http_method: "POST", url: url, body: body).headers
end

def handle(event)
  context, body = event.values_at("requestContext", "body")
  own = "https://#{context["apiId"]}.execute-api.#{ENV.fetch("AWS_REGION")}.amazonaws.com/#{context["stage"]}"
  endpoint = body == "id" ? own : "https://#{context["domainName"]}/#{context["stage"]}"
  return Net::HTTP.get_response(URI(body)).then { |reply| "#{reply.code} #{reply.body}" } unless %w[domain id].include?(body)

  url, text = "#{endpoint}/@connections/#{context["connectionId"]}", "ruby #{endpoint}"
  reply = Net::HTTP.post(URI(url), text, sign(url, text))
  reply.code == "200" ? "posted" : "failed: #{reply.code} #{reply.body}"
end

runtime = "http://#{ENV.fetch("AWS_LAMBDA_RUNTIME_API")}/2018-06-01/runtime/invocation"
loop do
  invocation = Net::HTTP.get_response(URI("#{runtime}/next"))
  body = begin
    handle(JSON.parse(invocation.body))
  rescue StandardError => e
    "failed: #{e.class} #{e.message}"
  end
  response = { statusCode: 200, body: body }
  Net::HTTP.post(URI("#{runtime}/#{invocation["lambda-runtime-aws-request-id"]}/response"), response.to_json)
end
