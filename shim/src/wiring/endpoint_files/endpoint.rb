# frozen_string_literal: true

# Preloaded into Ruby functions: Net::HTTP connects to the API's own names through the endpoint proxy of the server that
# runs the function. All other connections are unchanged. Names and proxy are in environment variables, because Net::HTTP
# reads http_proxy only, for HTTPS as well.
if ENV["TWINWAY_ENDPOINT_PROXY"] && ENV["TWINWAY_ENDPOINT_HOSTS"]
  require "net/http"

  module TwinwayEndpoint
    PROXY = URI.parse(ENV["TWINWAY_ENDPOINT_PROXY"])
    HOSTS = ENV["TWINWAY_ENDPOINT_HOSTS"].split(",").freeze

    def proxy?
      api? || super
    end

    def proxy_address
      api? ? PROXY.host : super
    end

    def proxy_port
      api? ? PROXY.port : super
    end

    def proxy_user
      api? ? PROXY.user : super
    end

    def proxy_pass
      api? ? PROXY.password : super
    end

    private

    def api?
      use_ssl? && port == 443 && HOSTS.include?(address.downcase.chomp("."))
    end
  end

  Net::HTTP.prepend(TwinwayEndpoint)
end
